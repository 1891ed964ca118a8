"""Generative adversarial distillation (arXiv 2511.10643): a student against a discriminator that learns too."""
