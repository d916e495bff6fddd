"""Training: the loop, its folder and checkpoints, evaluation, gradient check, benchmark.

Nothing is imported here, so that the package costs `import convjit` nothing.
"""
