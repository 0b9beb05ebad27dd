//! distill-chat.
