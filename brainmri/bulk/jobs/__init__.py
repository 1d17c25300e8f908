"""Jobs: bulk scoring that outlives the request that asked for it, and the process too."""
