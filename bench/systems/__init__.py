"""What is compared: this product, HAProxy's Runtime API alone, and other proxies."""
