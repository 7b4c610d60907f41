# Flags every target has, and the two kinds of folders: core (pure) and shell.
include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(shoal_flags INTERFACE)
target_compile_options(shoal_flags INTERFACE
	-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
	-Wpointer-arith -Wundef -fno-common)
target_compile_definitions(shoal_flags INTERFACE SHOAL_VERSION="${PROJECT_VERSION}")
target_link_options(shoal_flags INTERFACE -Wl,--as-needed)
if(SHOAL_WERROR)
	target_compile_options(shoal_flags INTERFACE -Werror)
endif()
if(SHOAL_SANITIZE)
	target_compile_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer
		-fno-sanitize-recover=all)
	target_link_options(shoal_flags INTERFACE -fsanitize=${SHOAL_SANITIZE})
endif()

# shoal_folder(NAME [CORE] [PROGRAM] [INCLUDE dir…] [LIBS target…])
#   NAME is made of all .c files of the calling folder.
#   CORE: pure; the system headers for time, files, sockets and threads do not
#   compile there (cmake/poison stands before them).
function(shoal_folder name)
	cmake_parse_arguments(arg "CORE;PROGRAM" "" "INCLUDE;LIBS;PRIVATE_LIBS" ${ARGN})
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
	if(arg_PROGRAM)
		add_executable(${name} ${sources})
		target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${arg_INCLUDE})
		target_link_libraries(${name} PRIVATE shoal_flags ${arg_LIBS} ${arg_PRIVATE_LIBS})
		target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
		return()
	endif()
	add_library(${name} STATIC ${sources})
	target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${arg_INCLUDE})
	target_link_libraries(${name} PUBLIC ${arg_LIBS} PRIVATE shoal_flags ${arg_PRIVATE_LIBS})
	if(arg_CORE)
		shoal_pure(${name})
	else()
		target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
	endif()
endfunction()

function(shoal_pure name)
	target_include_directories(${name} BEFORE PRIVATE ${PROJECT_SOURCE_DIR}/cmake/poison)
endfunction()
