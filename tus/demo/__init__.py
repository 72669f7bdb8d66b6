"""The former name of `tus.site`, for inis that say `hooks = tus.demo.arrivals:Gate`."""
