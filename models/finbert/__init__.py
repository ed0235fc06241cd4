"""Sentiment of headlines, English and Japanese: encoders that stand in for FinBERT."""
