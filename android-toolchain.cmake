# One toolchain file for both roads to a phone.
#
#   cmake -S llama.cpp -B build -G Ninja -DCMAKE_TOOLCHAIN_FILE=.../android-toolchain.cmake \
#         -DANDROID_ABI=arm64-v8a -DGGML_NATIVE=OFF -DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod
#
# With an Android NDK (ANDROID_NDK, ANDROID_NDK_HOME or ANDROID_NDK_ROOT, as a cmake or an environment
# variable) it hands over to the NDK's own toolchain file. Without one it uses zig (SMOOTHDROID_ZIG, the
# environment's ZIG, or the `ziglang` package of the python3 on PATH) and makes static musl executables,
# which run on any Linux kernel of that architecture, Android's included.
#
# SMOOTHDROID_ROAD=zig or =ndk insists on one of them.

if(NOT DEFINED ANDROID_ABI)
  set(ANDROID_ABI "arm64-v8a" CACHE STRING "arm64-v8a or x86_64")
endif()

set(SMOOTHDROID_NDK "")
foreach(name ANDROID_NDK ANDROID_NDK_HOME ANDROID_NDK_ROOT)
  if(NOT SMOOTHDROID_NDK AND DEFINED ${name})
    set(SMOOTHDROID_NDK "${${name}}")
  elseif(NOT SMOOTHDROID_NDK AND DEFINED ENV{${name}})
    set(SMOOTHDROID_NDK "$ENV{${name}}")
  endif()
endforeach()

if(NOT DEFINED SMOOTHDROID_ROAD)
  if(SMOOTHDROID_NDK)
    set(SMOOTHDROID_ROAD ndk)
  else()
    set(SMOOTHDROID_ROAD zig)
  endif()
endif()
# try_compile runs this file again in a project of its own, which inherits only what is named here.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_ABI SMOOTHDROID_ROAD SMOOTHDROID_ZIG SMOOTHDROID_ZIG_WRAPPERS)

if(SMOOTHDROID_ROAD STREQUAL "ndk")
  set(ndk_toolchain "${SMOOTHDROID_NDK}/build/cmake/android.toolchain.cmake")
  if(NOT EXISTS "${ndk_toolchain}")
    message(FATAL_ERROR "no NDK at '${SMOOTHDROID_NDK}': ${ndk_toolchain} is not there. Set ANDROID_NDK to an "
                        "unpacked NDK, or unset it to build with zig.")
  endif()
  if(NOT DEFINED ANDROID_PLATFORM)
    set(ANDROID_PLATFORM android-28)
  endif()
  message(STATUS "smoothdroid: NDK ${SMOOTHDROID_NDK}, ${ANDROID_ABI}, ${ANDROID_PLATFORM}")
  include("${ndk_toolchain}")
  return()
endif()

if(NOT SMOOTHDROID_ROAD STREQUAL "zig")
  message(FATAL_ERROR "SMOOTHDROID_ROAD is '${SMOOTHDROID_ROAD}'; it can be ndk or zig.")
endif()

if(ANDROID_ABI STREQUAL "arm64-v8a")
  set(zig_arch aarch64)
elseif(ANDROID_ABI STREQUAL "x86_64")
  set(zig_arch x86_64)
else()
  message(FATAL_ERROR "ANDROID_ABI is '${ANDROID_ABI}'; without an NDK it can be arm64-v8a or x86_64.")
endif()

if(NOT DEFINED SMOOTHDROID_ZIG)
  if(DEFINED ENV{ZIG})
    set(SMOOTHDROID_ZIG "$ENV{ZIG}")
  else()
    # The binary inside the wheel, not `python -m ziglang`: starting Python for each compiler call made
    # cmake's configure step sixty times slower.
    execute_process(
      COMMAND python3 -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name('zig'), end='')"
      OUTPUT_VARIABLE SMOOTHDROID_ZIG ERROR_QUIET RESULT_VARIABLE no_ziglang)
    if(no_ziglang)
      message(FATAL_ERROR "neither an NDK nor zig was found: set ANDROID_NDK, or `pip install ziglang`.")
    endif()
  endif()
endif()
message(STATUS "smoothdroid: zig ${SMOOTHDROID_ZIG}, ${zig_arch}-linux-musl, static")

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${zig_arch})

# zig spells an ARM architecture its own way (-mcpu=generic+v8_2a+dotprod) and refuses the -march that
# llama.cpp's GGML_CPU_ARM_ARCH becomes, so a wrapper translates. It also pins the target.
if(NOT DEFINED SMOOTHDROID_ZIG_WRAPPERS)
  set(SMOOTHDROID_ZIG_WRAPPERS "${CMAKE_BINARY_DIR}/zig-wrappers")
  foreach(tool cc c++)
    file(WRITE "${SMOOTHDROID_ZIG_WRAPPERS}/zig-${tool}" "#!/bin/sh
n=$#
while [ $n -gt 0 ]; do
  arg=$1; shift; n=$((n - 1))
  case $arg in
    -march=armv*) arg=$(printf %s \"$arg\" | sed -E \\
        -e 's/^-march=armv([0-9]+)-a/-mcpu=generic+v\\1a/' \\
        -e 's/^-march=armv([0-9]+)[.]([0-9]+)-a/-mcpu=generic+v\\1_\\2a/' \\
        -e 's/[+]fp16([+]|$)/+fullfp16\\1/g' -e 's/[+]no/-/g') ;;
  esac
  set -- \"$@\" \"$arg\"
done
exec '${SMOOTHDROID_ZIG}' ${tool} -target ${zig_arch}-linux-musl \"$@\"
")
    file(CHMOD "${SMOOTHDROID_ZIG_WRAPPERS}/zig-${tool}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  endforeach()
  foreach(tool ar ranlib)
    file(WRITE "${SMOOTHDROID_ZIG_WRAPPERS}/zig-${tool}" "#!/bin/sh\nexec '${SMOOTHDROID_ZIG}' ${tool} \"$@\"\n")
    file(CHMOD "${SMOOTHDROID_ZIG_WRAPPERS}/zig-${tool}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  endforeach()
endif()

set(CMAKE_C_COMPILER "${SMOOTHDROID_ZIG_WRAPPERS}/zig-cc")
set(CMAKE_CXX_COMPILER "${SMOOTHDROID_ZIG_WRAPPERS}/zig-c++")
set(CMAKE_AR "${SMOOTHDROID_ZIG_WRAPPERS}/zig-ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "${SMOOTHDROID_ZIG_WRAPPERS}/zig-ranlib" CACHE FILEPATH "")

# -g0 and -s: zig keeps debug information unless told otherwise, 112 MB for llama-bench alone.
set(CMAKE_C_FLAGS_INIT "-g0")
set(CMAKE_CXX_FLAGS_INIT "-g0")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -s")
set(BUILD_SHARED_LIBS OFF CACHE BOOL "")

# cmake's questions to the compiler need no link; with zig, each link of one takes seconds.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

# What is built runs on the phone, what is searched for lies on this machine: never mix them.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
