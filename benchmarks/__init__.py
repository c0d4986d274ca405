"""What is measured and kept as data: tuned learning rates (`tune`) and how fast the project is (`run`)."""
