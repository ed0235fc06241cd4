"""English headline sentiment: a fine-tuned MiniLM-L6 that stands in for FinBERT."""
