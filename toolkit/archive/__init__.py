"""Archives: any number of films, judged shard by shard on an engine; restart goes on, and no film is lost or judged twice."""
