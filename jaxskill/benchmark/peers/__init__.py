"""What is compared with: PyTorch as the official code computes, and other libraries."""
