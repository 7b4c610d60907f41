#error "core/ is pure: <sys/socket.h> may not be included here (docs/ARCHITECTURE.md)"
