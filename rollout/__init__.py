"""From what the versions did to the next edit of the stack file: collect, judge, plan, edit."""
