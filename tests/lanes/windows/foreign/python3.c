/* python3.dll: nothing but forwarders, which are in its .def file. */
int __stdcall DllMain(void *module, unsigned reason, void *reserved)
{
    (void)module; (void)reason; (void)reserved;
    return 1;
}
