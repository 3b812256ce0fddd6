"""Move an avatar: expressions and head poses from a video, a table or a preset, as a video or an animated file."""
