"""Link prediction on graphs."""
