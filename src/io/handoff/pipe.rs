//! The two ends of a pipe, or of a FIFO.

use super::socket::kind;

kind!(@std std::io::PipeReader);
kind!(@tokio tokio::net::unix::pipe::Receiver, std::io::PipeReader, |fd| {
    tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(fd)
});
kind!(@compio compio::fs::pipe::Receiver, std::io::PipeReader, |fd| unreachable!());
kind!(
    @functions "pipe's reading end", "a",
    std::io::PipeReader,
    tokio::net::unix::pipe::Receiver,
    compio::fs::pipe::Receiver,
    pipe_receiver_to_compio,
    pipe_receiver_to_tokio,
    pipe_receiver_to_std
);

kind!(@std std::io::PipeWriter);
kind!(@tokio tokio::net::unix::pipe::Sender, std::io::PipeWriter, |fd| {
    tokio::net::unix::pipe::Sender::from_owned_fd_unchecked(fd)
});
kind!(@compio compio::fs::pipe::Sender, std::io::PipeWriter, |fd| unreachable!());
kind!(
    @functions "pipe's writing end", "a",
    std::io::PipeWriter,
    tokio::net::unix::pipe::Sender,
    compio::fs::pipe::Sender,
    pipe_sender_to_compio,
    pipe_sender_to_tokio,
    pipe_sender_to_std
);
