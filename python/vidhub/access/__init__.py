"""Who may watch: grants and purposes; sessions asked for, tickets given."""
