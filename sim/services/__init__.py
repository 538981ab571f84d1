"""Services: replicas are jobs that run until they are not wanted; how long requests take comes from the timeline."""
