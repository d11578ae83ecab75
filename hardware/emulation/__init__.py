"""Devices without the device: real protocols and real SDKs, a simulator behind them, and faults on demand."""
