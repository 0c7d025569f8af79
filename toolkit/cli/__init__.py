"""One file a verb. click lives here and nowhere else; heavy rooms are imported when their verb runs."""
