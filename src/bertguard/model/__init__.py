"""The classifier: encoder, pooling, linear head; its checkpoint, tokenizer and backends."""
