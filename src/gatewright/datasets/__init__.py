"""What data arrived, exactly: tables, schema, splits, datasheet, passive readers."""
