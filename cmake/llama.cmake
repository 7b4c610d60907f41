# llama.cpp as target `llama`: the system's (pkg-config llama), else the copy that
# scripts/setup unpacked into the cache.
pkg_check_modules(LLAMA QUIET IMPORTED_TARGET GLOBAL llama)
add_library(llama INTERFACE)
if(LLAMA_FOUND)
	target_link_libraries(llama INTERFACE PkgConfig::LLAMA)
	return()
endif()

file(STRINGS ${PROJECT_SOURCE_DIR}/scripts/llama.lock lines REGEX "^llama.cpp ")
string(REPLACE "llama.cpp " "" version "${lines}")
set(cache $ENV{XDG_CACHE_HOME})
if(NOT cache)
	set(cache $ENV{HOME}/.cache)
endif()
execute_process(COMMAND dpkg --print-architecture OUTPUT_VARIABLE arch OUTPUT_STRIP_TRAILING_WHITESPACE)
set(LLAMA_DIR ${cache}/shoal/llama-${version}-${arch} CACHE PATH "llama.cpp: a folder with lib/ and include/")
if(NOT EXISTS ${LLAMA_DIR}/include/llama.h)
	message(FATAL_ERROR "llama.cpp is not in ${LLAMA_DIR} and pkg-config knows no `llama`. Run scripts/setup, which "
		"fetches it, or give -DLLAMA_DIR=<a folder with lib/ and include/>.")
endif()
target_include_directories(llama SYSTEM INTERFACE ${LLAMA_DIR}/include)
target_link_libraries(llama INTERFACE ${LLAMA_DIR}/lib/libllama.so ${LLAMA_DIR}/lib/libggml.so ${LLAMA_DIR}/lib/libggml-base.so)
target_link_options(llama INTERFACE -Wl,-rpath,${LLAMA_DIR}/lib)
