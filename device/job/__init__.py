"""Jobs on a phone: a runner script works through the cells there and keeps a journal."""
