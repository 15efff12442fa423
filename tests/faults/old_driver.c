/* A driver of NVIDIA's that has nothing but its version, that of CUDA 11.4; found as libcuda.so.1 (tests/cli/cuda.t). */
int cuDriverGetVersion(int *version);

int cuDriverGetVersion(int *version)
{
    *version = 11040;
    return 0;
}
