"""Layers that run over a sequence: LSTM, RNN."""
