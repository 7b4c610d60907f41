"""What the end-to-end tests share: a whole system on free ports, clients, waiting, counting.

A test program is a file test_*.py: functions marked with @test, then main().  It gets the
directory of the programs under test from SHOAL_BIN_DIR (default build/bin).
"""
