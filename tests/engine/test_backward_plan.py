from farlayer.engine.backward_plan import LayerFacts, LayerPlan, plan_backward


def facts(
    bottoms: str,
    tops: str,
    *,
    learns: list[bool] | None = None,
    loss: bool = False,
    propagate_down: list[bool] | None = None,
    forceable: bool = True,
) -> LayerFacts:
    return LayerFacts(
        bottoms=bottoms.split(),
        tops=tops.split(),
        propagate_down=propagate_down or [],
        is_loss=[loss] * len(tops.split()),
        params_learn=learns or [],
        allow_force_backward=lambda index: forceable or index != 1,
    )


DATA = facts("", "x label")


def plan(*layers: LayerFacts, force: bool = False) -> list[LayerPlan]:
    return plan_backward(layers, force_backward=force)


def test_gradients_flow_from_the_loss_back_to_the_first_layer_that_learns() -> None:
    plans = plan(
        DATA,
        facts("x", "fixed"),
        facts("fixed", "h", learns=[True, True]),
        facts("h", "y"),
        facts("y label", "loss", loss=True),
    )
    assert [entry.needs_backward for entry in plans] == [False, False, True, True, True]
    assert [entry.propagate_down for entry in plans] == [[], [False], [False], [True], [True, False]]


def test_a_param_with_lr_mult_zero_gets_no_gradient_but_its_neighbour_does() -> None:
    plans = plan(DATA, facts("x", "y", learns=[False, True]), facts("y label", "loss", loss=True))
    assert plans[1] == LayerPlan(True, [False], [False, True])


def test_a_layer_that_learns_nothing_stops_the_flow() -> None:
    plans = plan(DATA, facts("x", "y", learns=[False, False]), facts("y label", "loss", loss=True))
    assert [entry.needs_backward for entry in plans] == [False, False, False]


def test_a_branch_without_a_loss_is_skipped() -> None:
    plans = plan(
        DATA,
        facts("x", "h", learns=[True]),
        facts("h", "h0 h1"),
        facts("h0 label", "accuracy"),
        facts("h1 label2", "loss", loss=True),
    )
    assert [entry.needs_backward for entry in plans] == [False, True, True, False, True]
    assert plans[3].propagate_down == [False, False]


def test_propagate_down_false_cuts_off_what_lies_before() -> None:
    plans = plan(
        DATA,
        facts("x", "h", learns=[True]),
        facts("h", "y", learns=[True], propagate_down=[False]),
        facts("y label", "loss", loss=True),
    )
    assert [entry.needs_backward for entry in plans] == [False, False, True, True]
    assert plans[2].propagate_down == [False]


def test_propagate_down_true_forces_a_gradient_that_nothing_before_needs() -> None:
    plans = plan(
        DATA,
        facts("x", "h", learns=[True], propagate_down=[True]),
        facts("h label", "loss", loss=True, propagate_down=[True, True]),
    )
    assert [entry.needs_backward for entry in plans] == [False, True, True]
    assert [entry.propagate_down for entry in plans] == [[], [True], [True, True]]


def test_propagate_down_true_makes_no_layer_run_backward_that_would_not_run() -> None:
    plans = plan(DATA, facts("x", "h", propagate_down=[True]), facts("h label", "loss", loss=True))
    assert [entry.needs_backward for entry in plans] == [False, False, False]


def test_one_of_two_branches_may_be_cut_off() -> None:
    plans = plan(
        DATA,
        facts("x", "h", learns=[True]),
        facts("h", "h0 h1"),
        facts("h0", "a", propagate_down=[False]),
        facts("h1", "b"),
        facts("a b", "loss", loss=True),
    )
    assert [entry.needs_backward for entry in plans] == [False, True, True, True, True, True]
    assert plans[3].propagate_down == [False]
    assert plans[4].propagate_down == [True]


def test_an_in_place_layer_passes_the_need_on() -> None:
    plans = plan(DATA, facts("x", "y", learns=[True]), facts("y", "y"), facts("y label", "loss", loss=True))
    assert [entry.needs_backward for entry in plans] == [False, True, True, True]


def test_force_backward_reaches_every_bottom_that_allows_it() -> None:
    plans = plan(
        DATA,
        facts("x", "y", learns=[False]),
        facts("y label", "loss", loss=True, forceable=False),
        facts("loss", "unused"),
        force=True,
    )
    assert all(entry.needs_backward for entry in plans)
    assert [entry.propagate_down for entry in plans] == [[], [True], [True, False], [True]]
    assert plans[1].param_propagate_down == [True]


def test_nothing_runs_in_a_net_without_a_loss() -> None:
    plans = plan(DATA, facts("x", "y", learns=[True]))
    assert not any(entry.needs_backward for entry in plans)
