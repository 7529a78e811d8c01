"""What reviewers of a change see: the comment on its preview, what it deletes, what it costs."""
