"""Shipped networks with their cards, and sample images."""
