# One toolchain file for both roads to a phone.
#
#   cmake -S llama.cpp -B build -G Ninja -DCMAKE_TOOLCHAIN_FILE=.../android-toolchain.cmake \
#         -DANDROID_ABI=arm64-v8a -DGGML_NATIVE=OFF -DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod
#
# With an Android NDK, r24 or newer, it hands over to the NDK's own toolchain file. The NDK is the one that is named
# (ANDROID_NDK, ANDROID_NDK_HOME or ANDROID_NDK_ROOT, as a cmake or an environment variable), else the newest under
# an Android SDK (ANDROID_HOME, ANDROID_SDK_ROOT, ~/Android/Sdk). Without one it uses zig (SMOOTHDROID_ZIG, the
# environment's ZIG, or the `ziglang` package of the python3 on PATH) and makes static musl executables,
# which run on any Linux kernel of that architecture, Android's included.
#
# SMOOTHDROID_ROAD=zig or =ndk insists on one of them. What was decided is printed, and stays so in that build folder.
#
# `cmake -DANDROID_ABI=... -P android-toolchain.cmake` only decides: smoothdroid asks so, and searches nowhere itself.

if(CMAKE_VERSION VERSION_LESS 3.20)
  message(FATAL_ERROR " smoothdroid: cmake is ${CMAKE_VERSION}, and 3.20 or newer is needed: `pip install cmake`")
endif()

if(NOT DEFINED ANDROID_ABI)
  set(ANDROID_ABI "arm64-v8a" CACHE STRING "arm64-v8a or x86_64")
endif()
if(NOT DEFINED ANDROID_PLATFORM)
  set(ANDROID_PLATFORM android-28)
endif()
set(SMOOTHDROID_OLDEST_NDK 24) # clang 14; older ones are not promised to know the architectures that ggml is built for

# Sets `fault` to what is wrong with the NDK in `ndk`, in words, or to nothing; and `revision`.
function(smoothdroid_look_at ndk fault revision)
  set(${fault} "" PARENT_SCOPE)
  set(${revision} "" PARENT_SCOPE)
  if(NOT EXISTS "${ndk}/build/cmake/android.toolchain.cmake" OR NOT EXISTS "${ndk}/source.properties")
    set(${fault} "it is no NDK: build/cmake/android.toolchain.cmake or source.properties is not there" PARENT_SCOPE)
    return()
  endif()
  file(STRINGS "${ndk}/source.properties" line REGEX "^Pkg\\.Revision *= *[0-9]")
  if(NOT line MATCHES "= *([0-9][0-9a-z.-]*)")
    set(${fault} "it is broken: its source.properties names no Pkg.Revision" PARENT_SCOPE)
    return()
  endif()
  set(number "${CMAKE_MATCH_1}")
  set(${revision} "${number}" PARENT_SCOPE)
  if(number VERSION_LESS SMOOTHDROID_OLDEST_NDK)
    set(${fault} "it is ${number}, and r${SMOOTHDROID_OLDEST_NDK} or newer is needed" PARENT_SCOPE)
    return()
  endif()
  file(GLOB compilers "${ndk}/toolchains/llvm/prebuilt/*/bin/clang*")
  if(NOT compilers)
    set(${fault} "it is broken: toolchains/llvm/prebuilt/*/bin/clang is not there" PARENT_SCOPE)
    return()
  endif()
  set(triple_of_arm64-v8a aarch64-linux-android)
  set(triple_of_x86_64 x86_64-linux-android)
  set(triple_of_armeabi-v7a arm-linux-androideabi)
  set(triple_of_x86 i686-linux-android)
  set(triple_of_riscv64 riscv64-linux-android)
  set(triple "${triple_of_${ANDROID_ABI}}")
  string(REGEX MATCH "^(android-)?([0-9]+)$" known_api "${ANDROID_PLATFORM}")
  set(api "${CMAKE_MATCH_2}") # "latest" is the NDK's own to resolve
  file(GLOB libc "${ndk}/toolchains/llvm/prebuilt/*/sysroot/usr/lib/${triple}/${api}/libc.so")
  if(NOT triple OR (known_api AND NOT libc))
    set(${fault} "it has nothing for ${ANDROID_ABI} at ${ANDROID_PLATFORM}" PARENT_SCOPE)
  endif()
endfunction()

# What is decided is passed on to try_compile, which runs this file again in a project of its own; and is cached, so
# that a build folder never changes its road.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_ABI ANDROID_PLATFORM SMOOTHDROID_ROAD SMOOTHDROID_NDK
  SMOOTHDROID_ZIG SMOOTHDROID_ZIG_WRAPPERS)

if(NOT DEFINED SMOOTHDROID_NDK AND NOT SMOOTHDROID_ROAD STREQUAL "zig")
  set(found "")
  set(here "${CMAKE_BINARY_DIR}") # of a script, the folder that it was called in
  if(NOT CMAKE_SCRIPT_MODE_FILE AND DEFINED ENV{PWD})
    set(here "$ENV{PWD}")
  endif()
  foreach(name ANDROID_NDK ANDROID_NDK_HOME ANDROID_NDK_ROOT)
    foreach(value "${${name}}" "$ENV{${name}}")
      if(NOT found AND NOT value STREQUAL "")
        get_filename_component(found "${value}" ABSOLUTE BASE_DIR "${here}")
        set(because "${name}")
        smoothdroid_look_at("${found}" fault revision)
        if(fault)
          message(FATAL_ERROR " smoothdroid: ${name} names the NDK ${found}, and ${fault}. Unpack an NDK of "
                              "r${SMOOTHDROID_OLDEST_NDK} or newer and name it there, or unset it to build with zig.")
        endif()
      endif()
    endforeach()
  endforeach()
  # Nobody asked for what merely lies in an SDK: what is wrong with it is told, and the search goes on.
  set(left_aside "")
  foreach(sdk "$ENV{ANDROID_HOME}" "$ENV{ANDROID_SDK_ROOT}" "$ENV{HOME}/Android/Sdk")
    if(NOT found AND NOT sdk STREQUAL "")
      file(GLOB candidates LIST_DIRECTORIES true "${sdk}/ndk/*")
      set(newest "")
      foreach(candidate IN LISTS candidates)
        smoothdroid_look_at("${candidate}" fault revision)
        if(fault)
          string(APPEND left_aside "; ${candidate} was left aside: ${fault}")
        elseif(newest STREQUAL "" OR revision VERSION_GREATER newest)
          set(newest "${revision}")
          set(found "${candidate}")
          set(because "the newest under the SDK ${sdk}")
        endif()
      endforeach()
    endif()
  endforeach()
  if(NOT found AND SMOOTHDROID_ROAD STREQUAL "ndk")
    message(FATAL_ERROR " smoothdroid: no NDK was found${left_aside}. Set ANDROID_NDK to an unpacked NDK of "
                        "r${SMOOTHDROID_OLDEST_NDK} or newer.")
  endif()
  if(NOT found)
    set(because "no NDK is named or found under an Android SDK${left_aside}")
  endif()
  set(SMOOTHDROID_NDK "${found}" CACHE INTERNAL "the NDK, or nothing")
  set(SMOOTHDROID_WHY "${because}" CACHE INTERNAL "")
endif()
if(NOT DEFINED SMOOTHDROID_ROAD)
  if(SMOOTHDROID_NDK)
    set(SMOOTHDROID_ROAD ndk CACHE STRING "ndk or zig")
  else()
    set(SMOOTHDROID_ROAD zig CACHE STRING "ndk or zig")
  endif()
endif()
if(NOT SMOOTHDROID_ROAD MATCHES "^(ndk|zig)$")
  message(FATAL_ERROR " smoothdroid: SMOOTHDROID_ROAD is '${SMOOTHDROID_ROAD}'; it can be ndk or zig.")
endif()
if(NOT SMOOTHDROID_WHY)
  set(SMOOTHDROID_WHY "SMOOTHDROID_ROAD says so")
endif()

if(CMAKE_SCRIPT_MODE_FILE)
  foreach(what ROAD NDK WHY)
    message(STATUS "smoothdroid-${what}=${SMOOTHDROID_${what}}")
  endforeach()
  return()
endif()

if(SMOOTHDROID_ROAD STREQUAL "ndk")
  message(STATUS "smoothdroid: NDK ${SMOOTHDROID_NDK} (${SMOOTHDROID_WHY}), ${ANDROID_ABI}, ${ANDROID_PLATFORM}")
  # Phones of Android 15 may have pages of 16 KiB. r28 links for them unasked, r27 when it is asked, older ones with
  # the linker's own option.
  set(ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES ON)
  include("${SMOOTHDROID_NDK}/build/cmake/android.toolchain.cmake")
  add_link_options(-Wl,-z,max-page-size=16384)
  return()
endif()

if(ANDROID_ABI STREQUAL "arm64-v8a")
  set(zig_arch aarch64)
elseif(ANDROID_ABI STREQUAL "x86_64")
  set(zig_arch x86_64)
else()
  message(FATAL_ERROR " smoothdroid: ANDROID_ABI is '${ANDROID_ABI}'; without an NDK it can be arm64-v8a or x86_64.")
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
      message(FATAL_ERROR " smoothdroid: neither an NDK nor zig was found: set ANDROID_NDK, or `pip install ziglang`.")
    endif()
  endif()
endif()
message(STATUS "smoothdroid: zig ${SMOOTHDROID_ZIG} (${SMOOTHDROID_WHY}), ${zig_arch}-linux-musl, static")

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${zig_arch})

# zig spells an architecture its own way (-mcpu=generic+v8_2a+dotprod, -march=x86_64_v3) and refuses the -march that
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
        -e 's/[+](no)?fp16([+]|$)/+\\1fullfp16\\2/g' -e 's/[+]no/-/g' \\
        -e 's/[+]sve2-/+sve2_/g') ;;
    -march=x86-64*) arg=$(printf %s \"$arg\" | sed -e 's/x86-64/x86_64/' -e 's/-v/_v/') ;;
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
# max-page-size: zig aligns for pages of 64 KiB on arm64, of 4 KiB on x86_64, where Android may have some of 16 KiB.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -s")
if(zig_arch STREQUAL "x86_64")
  string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -Wl,-z,max-page-size=16384")
endif()
set(BUILD_SHARED_LIBS OFF CACHE BOOL "")

# cmake's questions to the compiler need no link; with zig, each link of one takes seconds.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

# What is built runs on the phone, what is searched for lies on this machine: never mix them.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
