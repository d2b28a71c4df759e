//! Why ports drop frames.

crate::drops! { Port:
    NO_MEMORY = "no_memory", "a frame arrived and no chunk was free for it";
    TRUNCATED = "truncated", "a frame arrived that is longer than the port can receive";
    WHOLE = "whole", "a tunnel's packet came by the kernel, which had nothing of it to put together";
    OFFLOAD = "offload", "a frame arrived with offload data that do not fit it";
    FULL = "full", "the port's transmit queue was full";
    HANDOVER = "handover", "the ring to the worker that owns the port was full";
    REFUSED = "refused", "the kernel refused to send the frame";
    GONE = "gone", "the port was removed";
}
