"""llama.cpp behind a small door. Only the modules of this folder import ``llama_cpp``."""
