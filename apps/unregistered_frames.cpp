// What the compiler's start and end code of a static program calls in place of libgcc's registry: see grua_link_static.
extern "C" {
void __wrap___register_frame_info(const void* /*frames*/, void* /*object*/) {}
void* __wrap___deregister_frame_info(const void* /*frames*/) { return nullptr; }
}
