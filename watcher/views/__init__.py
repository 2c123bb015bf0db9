"""Read models: what is known of a site and its recordings. Commands ask here, and pages and reports will."""
