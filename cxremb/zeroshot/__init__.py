"""Films judged by prompts: nothing is trained. Read downward: prompts, asked, score."""
