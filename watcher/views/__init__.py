"""Read models: what is known of a site and its recordings. Whoever shows it to people asks here."""
