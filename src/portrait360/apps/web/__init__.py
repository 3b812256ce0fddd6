"""`portrait360 serve`: a job queue, the page, and the files of runs that a browser may see."""
