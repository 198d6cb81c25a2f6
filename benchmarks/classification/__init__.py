"""edgesynth against what an engineer would pick instead, at equal multiply-accumulates, on image classification."""
