"""How far a replay is from what was recorded, and so how far its predictions can be trusted."""
