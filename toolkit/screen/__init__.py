"""The screen: a small network that tells a usable frontal chest film from any other picture.

`screen.onnx` is its graph, `screen.json` describes it (`toolkit.core.bundle.ScreenEntry`): digest, limits, what it was measured to
reject. Both are data and are copied into every bundle of real films when that is sealed; `toolkit.infer.screen` runs them there.
`benchmarks/screen.py` made and measured them; `docs/results/screen.json` has the sets and the figures.
"""
