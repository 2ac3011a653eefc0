"""A seeded fuzz of every reader: `make fuzz`, or `python -m fuzz --help` with `tests` on the path.

`seeds`     a whole small file, or folder, of every kind that is read, and the public call that reads it
`mutation`  changes of files that know their structure: chunks and their sums, tables, headers, tags, archives
`traps`     whole files in place of others: bombs, playlists, programs for printers, pipes, links that lead out
`cases`     one case: which file is changed how, all from one number; and what is right of a result
`worker`    a process that runs cases and watches itself: memory, sockets, programs, files elsewhere, leftovers
`__main__`  workers in parallel for a given time; a table, and status 1 on any fault
"""
