"""When and where requests are sent, what a failed one does next, and what may be spent. Written without I/O.

Nothing here waits, reads a clock or draws from a global generator: times (`now`, in seconds of any one clock that never
goes back) and randomness come in as arguments, what to do comes out as values. `engines.dispatch` does it.
"""
