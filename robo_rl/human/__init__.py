"""The person in the loop: who is in control, what is learned from it, and people who are simulated."""
