"""One thread a test process: two processes then use two cores, and none waits for the other's threads."""

import torch

torch.set_num_threads(1)
