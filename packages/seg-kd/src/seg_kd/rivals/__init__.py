"""Objectives that canonical distillation is compared with: one file a method, `presets` by name."""
