"""Reports for people and programs: CSV, lines of JSON, and pages of HTML that need nothing but themselves."""
