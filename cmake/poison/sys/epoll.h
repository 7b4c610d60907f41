#error "core/ is pure: <sys/epoll.h> may not be included here (docs/ARCHITECTURE.md)"
