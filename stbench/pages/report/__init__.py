"""One HTML page per board for people to look at: text and tables first, pictures drawn from compact numbers."""
